"""The gateway: the HTTP service. It authenticates, publishes, answers from the view, and never touches Docker."""
