"""What is paid once and found again: budgets, the ledger, services, and the runner that ties them together."""
