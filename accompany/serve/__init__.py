"""`accompany serve`: a page in the browser and an HTTP API, in one process, with one thread that runs the model.

`limits` says what is allowed, `access` who may ask, `uploads` takes recordings in, `store` keeps them, `jobs` is the
bounded queue, `work` what its jobs do, `downloads` what goes out, `routes` the API, `app` puts it together and `run`
opens the port. The page itself is in `page/`: plain HTML, CSS and JavaScript, nothing to build, nothing from the net.
"""
