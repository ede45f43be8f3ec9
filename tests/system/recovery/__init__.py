"""What breaks around a running job, on a whole Airflow: a package, so that its tests share one stack."""
