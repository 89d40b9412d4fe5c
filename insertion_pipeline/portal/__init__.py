"""The partner portal: deposit a file, know at once, fix it, be done.

Belongs here: the web pages and the REST API, who may see what, what is expected when, messages to partners. Does not
belong here: judging, receiving, publishing. The portal calls the functions that the command line calls.

    app · api · pages/      routes, in French; rendering, messages, formats: how pages are made
    access · sessions       who is it, what may they do: everything is denied unless a route says otherwise
    accounts · oidc · tokens · throttling
    depositing · antivirus · verdicts · filling · dropping · receipt_document
    board · deadlines · reminding · mail · figures · publishing
    context · settings · store · audit      what every route works with and remembers (SQLite, or PostgreSQL by setting)
"""
