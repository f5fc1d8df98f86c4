package forgetest

import "lockkeeper/forge/forgetest/internal/rest"

// Routes lists every operation as "METHOD /path", for the test that calls all.
func Routes() []string { return rest.Routes() }
