"""What --tags can name."""

from __future__ import annotations

import pytest

from mammoctl import completion, roles
from mammoctl.errors import UsageError


def test_the_roles_are_those_of_the_playbook() -> None:
    assert roles.names() == (
        *("common", "java", "ssh", "guard", "wireguard", "lockdown"),
        *("python", "cuda", "hdfs", "spark", "scala", "sbt"),
    )


def test_roles_and_their_steps_can_be_named() -> None:
    assert roles.tags()[:3] == ("common", "common_install", "common_configure")
    for words in (None, "spark", "spark, hdfs_configure", "all", "guard,"):
        assert roles.check_tags(words) == words


@pytest.mark.parametrize(
    ("words", "wrong", "hint"),
    [
        ("spark,sparc_configure", "sparc_configure", "did you mean spark_configure"),
        ("zzz", "zzz", "there are common, java, "),
    ],
)
def test_a_word_that_names_nothing_is_refused(words: str, wrong: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no part is called {wrong}$") as caught:
        roles.check_tags(words)
    assert hint in str(caught.value.hint)


def test_tab_goes_on_behind_a_comma() -> None:
    assert completion.tags("spark,sb") == ["spark,sbt", "spark,sbt_install", "spark,sbt_configure"]
    assert completion.tags("nothing") == []
