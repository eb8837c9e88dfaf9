"""Requests of front ends that come without a widget: subscriptions, and questions asked once."""
