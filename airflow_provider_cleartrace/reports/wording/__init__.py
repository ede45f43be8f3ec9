"""The facts of a report in the words and number formats of its audience."""
