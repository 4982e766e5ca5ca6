"""What runs in the Python that has jax and Kinetix; imports nothing of the package.

Run as a folder (``python …/engine ARGUMENTS``), so the package's own libraries stay out of it.
"""
