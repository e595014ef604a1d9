"""The HTTP API: `app.build_app(deps)` makes the aiohttp application; `keys` and `auth` also serve
the command line."""
