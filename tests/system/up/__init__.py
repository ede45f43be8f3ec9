"""What ``make up`` starts, as a person meets it: in a browser, from the login to Ctrl-C."""
