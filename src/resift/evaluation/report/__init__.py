"""An evaluation as one page that needs nothing beside itself: no network, no library, no server."""
