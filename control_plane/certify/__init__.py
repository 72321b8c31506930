"""What carriers ask before they accept traffic, tried against a far end through the server that runs, with a report to send."""
