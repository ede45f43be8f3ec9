"""Tasks that start a job of the service: submitted once, waited for, finished."""
