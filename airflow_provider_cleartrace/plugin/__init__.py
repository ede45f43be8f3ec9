"""What Airflow's own UI shows of ClearTrace, from Airflow 3.1 on."""
