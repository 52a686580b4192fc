import pytest

from mammoctl.errors import UsageError
from mammoctl.jobs import options


def test_both_ways_to_write_a_value():
    words = ["--strategy", "sync", "--folds=5", "--learning-rate", "-1e-3"]
    assert options.parse(words) == {"strategy": "sync", "folds": "5", "learning-rate": "-1e-3"}
    assert options.parse([]) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sync"], "no option"),
        (["-s", "1"], "no option"),
        (["--strategy"], "no value"),
        (["--strategy", "--folds", "5"], "no value"),
        (["--folds", "5", "--folds=6"], "twice"),
        (["--data", "other"], "not for the application alone"),
        (["--ports", "1-2"], "not for the application alone"),
    ],
)
def test_what_is_refused(words, said):
    with pytest.raises(UsageError, match=said) as caught:
        options.parse(words)
    assert caught.value.hint
