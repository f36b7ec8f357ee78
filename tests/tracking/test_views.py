"""Views of an experiment: plain tags, as MLflow 3.17 packs them; and the page that opens as model training."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from types import SimpleNamespace

import pytest

from unlocked.tracking import dashboard_app, views
from unlocked.tracking.views import Shape, keep, links, shape_after, states


class Store:
    """The one experiment of an MLflow client."""

    def __init__(self):
        self.tags, self.writes = {}, 0

    def get_experiment(self, _):
        return SimpleNamespace(tags=dict(self.tags))

    def set_experiment_tag(self, _, key, value):
        assert len(key) <= 250
        assert len(value) <= 5000  # the column of older databases
        self.tags[key], self.writes = value, self.writes + 1


def unpacked(tags, key):
    view = json.loads(tags[f"mlflow.sharedViewState.unlocked-{key}"])
    kind, _, state = view["state"].partition(";")
    assert kind == "deflate"
    return view["name"], json.loads(zlib.decompress(base64.b64decode(state)))


RUN = {"scheme": "dni", "monitor": "accuracy", "modules": "4"}
STUDY = {"unlocked.kind": "study", "mlflow.unlocked.metric": "val/mse", "mlflow.unlocked.swept": '["optimizer.lr"]'}


def test_views_are_written_once_and_again_only_for_what_is_new():
    store = Store()
    assert keep(store, "1", lambda shape: shape_after(shape, RUN, "run"))
    written = store.writes
    assert not keep(store, "1", lambda shape: shape_after(shape, RUN | {"scheme": "dfa", "modules": "2"}, "run"))
    assert store.writes == written
    assert keep(store, "1", lambda shape: shape_after(shape, RUN | {"modules": "6"}, "run"))
    name, state = unpacked(store.tags, "results")
    assert name == "Results: best first"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/accuracy`", False)
    assert {"tags.`scheme`", "tags.`seed`", "metrics.`test/accuracy`"} <= set(state["selectedColumns"])


def test_a_metric_that_is_better_low_is_sorted_upwards_by_the_word_of_its_task():
    shape = shape_after(Shape(), RUN | {"monitor": "regret", "mlflow.unlocked.direction": "min"}, "run")
    assert states(shape)["results"]["orderByAsc"]
    both = shape_after(shape, RUN, "run")
    assert (both.metrics, states(both)["results"]["orderByAsc"]) == (["accuracy", "regret"], False)


def test_the_charts_have_all_modules_in_one_and_training_beside_validation():
    charts = states(shape_after(Shape(), RUN, "run"))["charts"]["compareRunCharts"]
    lines = [chart["selectedMetricKeys"] for chart in charts if chart["type"] == "LINE"]
    assert ["train/loss", "val/loss"] in lines
    assert [f"align/module_{k}" for k in range(4)] in lines
    assert len({chart["uuid"] for chart in charts}) == len(charts)


def test_the_trials_of_the_latest_study_have_a_view_of_what_it_varies():
    shape = shape_after(shape_after(Shape(), RUN, "run"), STUDY, "my-study")
    state = states(shape)["trials"]
    assert state["searchFilter"] == "tags.`unlocked.parent` = 'my-study'"
    assert state["orderByAsc"]
    assert "params.`optimizer.lr`" in state["selectedColumns"]
    assert state["compareRunCharts"][0]["selectedParams"] == ["optimizer.lr"]
    assert "trials" not in states(Shape())
    store = Store()
    keep(store, "1", lambda shape: shape_after(shape, RUN, "run"))
    assert not views.has_trials(store.tags)
    keep(store, "1", lambda shape: shape_after(shape, STUDY, "my-study"))
    assert views.has_trials(store.tags)


def test_damaged_or_older_notes_have_the_views_written_anew():
    for value in ("{", "[]", "{}", '{"version": 0}', '{"version": 1, "more": 2}', '{"version": 3, "written": 2}'):
        store = Store()
        store.tags["mlflow.unlocked.views"] = value
        assert keep(store, "1", lambda shape: shape_after(shape, RUN, "run")), value
        assert views.read(store.tags) is not None


def test_views_of_an_earlier_version_are_written_anew_for_the_runs_that_it_knew(monkeypatch):
    store = Store()
    keep(store, "1", lambda shape: shape_after(shape, STUDY, "my-study"))
    monkeypatch.setattr(views, "_VERSION", views._VERSION + 1)
    assert keep(store, "1", lambda shape: shape)
    assert views.read(store.tags).shape.study == "my-study"
    assert not keep(store, "1", lambda shape: shape)


def test_a_view_that_somebody_changed_or_deleted_stays_so():
    store = Store()
    keep(store, "1", lambda shape: shape_after(shape, RUN, "run"))
    changed, deleted = "mlflow.sharedViewState.unlocked-results", "mlflow.sharedViewState.unlocked-charts"
    store.tags[changed] = mine = store.tags[changed].replace("Results: best first", "Mine")
    del store.tags[deleted]
    for modules in ("6", "8"):
        assert keep(store, "1", lambda shape, modules=modules: shape_after(shape, RUN | {"modules": modules}, "run"))
        assert store.tags[changed] == mine
        assert deleted not in store.tags
        assert "metrics.`time/wait_fraction/module_3`" in unpacked(store.tags, "by-scheme")[1]["selectedColumns"]


def test_a_server_that_dies_while_views_are_written_has_all_of_them_the_next_time():
    store = Store()
    keep(store, "1", lambda shape: shape_after(shape, RUN, "run"))
    six = RUN | {"modules": "6"}
    for writes in range(1, 5):
        left = iter(range(writes))

        def mortal(*words, left=left, write=store.set_experiment_tag):
            if next(left, None) is None:
                raise ConnectionError("nobody answers")
            write(*words)

        store.set_experiment_tag = mortal
        with pytest.raises(ConnectionError):
            keep(store, "1", lambda shape: shape_after(shape, six, "run"))
        del store.set_experiment_tag
    assert keep(store, "1", lambda shape: shape_after(shape, six, "run"))
    for key in ("charts", "charts-by-scheme"):
        lines = [chart.get("selectedMetricKeys") for chart in unpacked(store.tags, key)[1]["compareRunCharts"]]
        assert [f"align/module_{k}" for k in range(6)] in lines


def test_means_over_a_scheme_leave_out_the_trials_of_searches_as_mlflow_reads_it(tmp_path, empty_database):
    import shutil

    from mlflow.tracking import MlflowClient

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name, tags in (("plain", {}), ("study", {"study": "s"}), ("trial", {"unlocked.parent": "s"})):
        client.create_run("0", tags=tags, run_name=name)
    found = states(shape_after(Shape(), RUN, "run"))
    shown = {
        key: sorted(run.info.run_name for run in client.search_runs(["0"], found[key]["searchFilter"])) for key in found
    }
    assert shown["by-scheme"] == shown["charts-by-scheme"] == ["plain"]
    assert shown["results"] == shown["charts"] == ["plain", "trial"]


def test_links_open_model_training_and_charts_as_charts():
    found = dict(links("http://here", "7", with_trials=True))
    assert list(found) == ["Trials", "Results", "By scheme", "Charts", "Charts by scheme"]
    assert all("workflowType=machine_learning" in link for link in found.values())
    assert found["Results"].endswith("viewStateShareKey=unlocked-results")
    assert ["compareRunsMode=CHART" in link for link in found.values()] == [False, False, False, True, True]
    assert links("http://here", None) == [("Experiments", "http://here/#/experiments?workflowType=machine_learning")]


def asked(path, page=b"<html><head><title>MLflow</title></head></html>"):
    """What `Dashboard` answers, and with which headers it asked."""
    seen, sent = {}, []

    async def inner(scope, receive, send):
        seen.update(scope)
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(page)).encode()), (b"etag", b"x")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": page[:10], "more_body": True})
        await send({"type": "http.response.body", "body": page[10:]})

    async def send(message):
        sent.append(message)

    headers = [(b"if-none-match", b"x"), (b"host", b"127.0.0.1")]
    scope = {"type": "http", "path": path, "method": "GET", "headers": headers}
    asyncio.run(dashboard_app.Dashboard(inner)(scope, None, send))
    return seen, dict(sent[0]["headers"]), b"".join(each["body"] for each in sent[1:])


def test_the_page_begins_with_our_choices_and_nothing_else_is_touched():
    seen, headers, body = asked("/")
    assert body.startswith(b"<html><head><script>")
    assert b"mlflow.workflowType_v1" in body
    assert b'"tag.scheme.dfa": "#D55E00"' in body
    assert int(headers[b"content-length"]) == len(body)
    assert b"etag" not in headers
    assert [name for name, _ in seen["headers"]] == [b"host"]
    assert asked("/static-files/main.js")[2] == b"<html><head><title>MLflow</title></head></html>"


def test_mlflow_finds_the_application_by_its_entry(tmp_path):
    import importlib.metadata

    folder = dashboard_app.write_entry(tmp_path)
    (found,) = [each for known in importlib.metadata.distributions(path=[str(folder)]) for each in known.entry_points]
    assert (found.group, found.name) == ("mlflow.app", dashboard_app.NAME)
    assert found.value == "unlocked.tracking.dashboard_app:app"
