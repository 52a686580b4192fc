"""Role variables for the command line: the inventory wins, and a wrong value is told."""

from __future__ import annotations

import pytest

from mammoctl import role_settings
from mammoctl.errors import InventoryError


def test_the_inventory_wins_over_the_roles_default() -> None:
    assert role_settings.number({}, "hdfs_namenode_http_port") == 9870
    assert role_settings.number(
        {"hdfs_namenode_http_port": "19870"}, "hdfs_namenode_http_port"
    ) == (19870)
    assert role_settings.value({"spark_var_dir": ""}, "spark_var_dir") == "/var/lib/spark"


@pytest.mark.parametrize("name", ["spark_ui_port", "common_min_free_mb", "hdfs_data_dir"])
def test_what_is_asked_for_is_no_template(name: str) -> None:
    assert "{{" not in str(role_settings.value({}, name))


@pytest.mark.parametrize("wrong", ["5m", "80.5", [8080], 1.5])
def test_no_number_is_an_error_that_names_the_variable(wrong: object) -> None:
    with pytest.raises(InventoryError, match=r"spark_ui_port is .*not a whole number") as caught:
        role_settings.number({"spark_ui_port": wrong}, "spark_ui_port")
    assert caught.value.exit_code == 2
    assert caught.value.hint
