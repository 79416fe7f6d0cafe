"""Docker and Kubernetes as the lessons use them; imports no framework."""
