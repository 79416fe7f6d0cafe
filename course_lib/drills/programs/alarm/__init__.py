"""What drill 5 runs: desks with scanners, their customers, and a watcher that evaluates rules."""
