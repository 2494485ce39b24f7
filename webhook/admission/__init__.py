"""Reviews of the API server: what comes in, what is answered, what the answers depend on."""
