// Command gitea-hook stands in Git's hooks where Gitea puts itself. It has the
// hook run by a process that Gitea keeps for that (hookd.go), since each start
// of a program of that size costs more than everything else in a push. Without
// that process, it becomes Gitea.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"lockkeeper/testdata/gitea/hooks"
)

func main() {
	conn := dial()
	if conn == nil {
		becomeGitea()
	}
	answer, err := ask(conn)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gitea-hook:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(answer.Stdout)
	_, _ = os.Stderr.Write(answer.Stderr)
	os.Exit(answer.Code)
}

// dial connects to the process for hooks. It is nil if there is none, or if the
// hook talks with Git back and forth (proc-receive).
func dial() net.Conn {
	config := slices.IndexFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "--config=") })
	if config < 0 || slices.Contains(os.Args, "proc-receive") {
		return nil
	}
	socket, internal := hooks.Sockets(strings.TrimPrefix(os.Args[config], "--config="))
	if os.Getenv("GITEA_INTERNAL_PUSH") == "true" {
		socket = internal
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil
	}
	return conn
}

func ask(conn net.Conn) (answer hooks.Answer, err error) {
	call := hooks.Call{Args: os.Args[1:], Env: os.Environ()}
	if call.Dir, err = os.Getwd(); err != nil {
		return answer, err
	}
	if call.Stdin, err = io.ReadAll(os.Stdin); err != nil {
		return answer, err
	}
	if err := json.NewEncoder(conn).Encode(call); err != nil {
		return answer, err
	}
	return answer, json.NewDecoder(conn).Decode(&answer)
}

func becomeGitea() {
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(filepath.Join(filepath.Dir(self), "gitea"), os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "gitea-hook:", err)
	os.Exit(1)
}
