"""Where the containers of the local cloud run: a Docker engine, or plain processes where there is none."""
