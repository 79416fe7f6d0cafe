"""What the lessons of From Loss to Load Balancer share. Imports nothing: the service's container copies this file."""

__version__ = "0.1.0"
