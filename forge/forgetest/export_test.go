package forgetest

// Routes lists every operation as "METHOD /path", for the test that calls all.
func Routes() []string {
	var list []string
	for _, rt := range routes() {
		list = append(list, rt.pattern)
	}
	return list
}
