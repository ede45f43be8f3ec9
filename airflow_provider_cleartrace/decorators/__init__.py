"""TaskFlow: functions that bring the data, as tasks that train on it."""
