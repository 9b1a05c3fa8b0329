"""A proxy inside a test, in a thread of its own: it blocks, or is awaited; and the plugin for pytest.

Importing this package imports nothing else, as pytest loads the plugin in every run. Use what ``faultproxy`` exports.
"""
