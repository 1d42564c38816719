"""Who may do what, for which purpose: Cedar policies, and decisions with their reasons. The one home of ``cedarpy``."""
