// Package hooks is how Git's hooks reach the process that runs them.
package hooks

import "path/filepath"

// Call is one run of a hook.
type Call struct {
	Args  []string // after the program's name
	Env   []string
	Dir   string
	Stdin []byte
}

// Answer is what came of it.
type Answer struct {
	Stdout, Stderr []byte
	Code           int
}

// Sockets are where the processes listen that run the hooks of the Gitea with
// this configuration file: one for people's pushes, and one for the pushes that
// Gitea makes itself, some of which a hook of the former waits for.
func Sockets(config string) (pushed, internal string) {
	dir := filepath.Dir(config)
	return filepath.Join(dir, "hooks-pushed.sock"), filepath.Join(dir, "hooks-internal.sock")
}
