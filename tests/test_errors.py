"""What an exception says, whatever it is."""

from unlocked.errors import reason


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


def test_an_exception_that_cannot_say_what_it_is_goes_by_its_name():
    assert reason(Silent()) == "Silent"
    assert reason(ValueError("  one \n two")) == "one"
