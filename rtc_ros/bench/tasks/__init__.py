"""Low-dimensional bimanual tasks under force control, and policies learnt from them in minutes."""
