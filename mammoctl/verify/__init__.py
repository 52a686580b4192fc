"""Run the checks of ``tests/infra`` on a cluster and report on them."""
