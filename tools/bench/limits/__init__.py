"""What no server can beat here: the runtime without HTTP, the framework without a model, the client without either."""
