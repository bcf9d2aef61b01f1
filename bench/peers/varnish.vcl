# Varnish before the user service. ${origin} is filled in by servers.py, which also says with what parameters it runs.
vcl 4.1;

backend origin {
    .host = "127.0.0.1";
    .port = "${origin}";
    # Varnish keeps connections to the upstream by itself; this keeps them longer than any pause of a run.
    .first_byte_timeout = 30s;
}

sub vcl_recv {
    # Only look-ups of users are cached: their own Cache-Control decides for how long. Varnish caches no POST.
    if (req.url ~ "^/users/" && req.method == "GET") {
        return (hash);
    }
    # Bodies stream: a pass holds no more than a piece of one.
    return (pass);
}
