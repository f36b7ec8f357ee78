import random
import subprocess
import sys

import numpy as np

from unlocked.tasks import load


def test_mnist1d_is_generated_once_and_leaves_the_global_generators_alone(tmp_path):
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.rand()
    random.seed(3)
    np.random.seed(3)
    data = load("mnist1d", root=tmp_path)
    assert (random.random(), np.random.rand()) == expected
    assert data.in_shape == (40,)
    assert (len(data.train), len(data.test), data.n_outputs) == (4000, 1000, 10)
    assert len(list((tmp_path / "cache").glob("mnist1d-*.npz"))) == 1
    assert data.train.y.bincount().tolist() == [398, 396, 411, 394, 394, 402, 401, 404, 402, 398]
    assert abs(float(data.train.x.mean()) + 0.0003237) < 1e-6  # as mnist1d 0.0.2.post1 gives it
    again = load("mnist1d", root=tmp_path)
    assert (again.train.x == data.train.x).all()


def test_the_data_package_imports_no_data_library():
    code = "import sys, unlocked.data; print({'sklearn', 'mnist1d', 'matplotlib', 'pyarrow'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout.strip() == "set()"
