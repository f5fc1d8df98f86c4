package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"code.gitea.io/gitea/cmd"
	"code.gitea.io/gitea/modules/setting"
	"github.com/urfave/cli/v3"

	"lockkeeper/testdata/gitea/hooks"
)

// hookd is the first argument of a process that runs hooks. The second is the
// socket to listen on.
const hookd = "hookd"

// keepHookds starts the processes that run hooks, which end with this one, and
// has Gitea write hooks that ask them.
func keepHookds(config string) error {
	pushed, internal := hooks.Sockets(config)
	return errors.Join(keepHookd(pushed), keepHookd(internal))
}

func keepHookd(socket string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(self, hookd, socket)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if _, err := child.StdinPipe(); err != nil { // its lifeline
		return err
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start a process for hooks: %w", err)
	}
	go func() { _ = child.Wait() }()
	setting.AppPath = filepath.Join(filepath.Dir(self), "gitea-hook")
	return nil
}

// runHookd runs hooks, one at a time: Gitea's code for them goes by the
// environment, the working directory and the standard streams of its process.
func runHookd(socket string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		var call hooks.Call
		if err := json.NewDecoder(conn).Decode(&call); err == nil {
			answer, err := runHook(call)
			if err != nil {
				answer.Code, answer.Stderr = 1, fmt.Appendf(answer.Stderr, "gitea hookd: %v\n", err)
			}
			_ = json.NewEncoder(conn).Encode(answer)
		}
		_ = conn.Close()
	}
}

// exit is a panic in place of the end of the process.
type exit int

func runHook(call hooks.Call) (answer hooks.Answer, err error) {
	os.Clearenv()
	for _, variable := range call.Env {
		name, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(name, value); err != nil {
			return answer, err
		}
	}
	if err := os.Chdir(call.Dir); err != nil {
		return answer, err
	}
	streams, err := redirect(call.Stdin)
	if err != nil {
		return answer, err
	}
	os.Args = append([]string{"gitea"}, call.Args...)
	answer.Code = runToItsEnd()
	answer.Stdout, answer.Stderr = streams.restore()
	return answer, nil
}

func runToItsEnd() (code int) {
	setting.InstallLock = false // as in a process that has not read its configuration
	cli.OsExiter = func(code int) { panic(exit(code)) }
	cli.ErrWriter = os.Stderr
	defer func() {
		switch ended := recover().(type) {
		case nil:
		case exit:
			code = int(ended)
		default:
			panic(ended)
		}
	}()
	if err := cmd.RunMainApp(cmd.NewMainApp(cmd.AppVersion{Version: version}), os.Args...); err != nil {
		return 1
	}
	return 0
}

// streams are pipes in place of the process's own standard streams.
type streams struct {
	stdin, stdout, stderr *os.File // the process's own
	out, err              bytes.Buffer
	copying               sync.WaitGroup
}

func redirect(input []byte) (*streams, error) {
	s := &streams{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = inWrite.Write(input)
		_ = inWrite.Close()
	}()
	s.copying.Go(func() { _, _ = io.Copy(&s.out, outRead); _ = outRead.Close() })
	s.copying.Go(func() { _, _ = io.Copy(&s.err, errRead); _ = errRead.Close() })
	os.Stdin, os.Stdout, os.Stderr = inRead, outWrite, errWrite
	return s, nil
}

// restore gives the process its own streams back, and what the others took.
func (s *streams) restore() (out, errOut []byte) {
	for _, end := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		_ = end.Close()
	}
	os.Stdin, os.Stdout, os.Stderr = s.stdin, s.stdout, s.stderr
	s.copying.Wait()
	return s.out.Bytes(), s.err.Bytes()
}
