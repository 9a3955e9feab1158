"""What each route does, by noun. Who may come here is decided before: see gateway.policies."""
