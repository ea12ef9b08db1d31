"""What stands in the crash folder: names and retention, the record, the inventory, bundles.

Imported by ``run``, ``status``, ``analysis`` and ``cli``; imports ``dump`` and below.
"""
