"""A whole Airflow with ClearTrace Local on this machine: ``make demo``, ``make up``, the system tests."""
