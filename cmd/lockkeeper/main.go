// Command lockkeeper plans, gates and applies pull requests; see the README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"lockkeeper/cluster/manifest"
)

// subcommand is one way to call lockkeeper.
type subcommand struct {
	name, usage, summary string
	run                  func(ctx context.Context, c *call) error
}

// call is one invocation of a subcommand.
type call struct {
	flags          *flag.FlagSet
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// parse reads the flags; left over arguments are an error.
func (c *call) parse() error {
	if err := c.flags.Parse(c.args); err != nil {
		return errUsage
	}
	if c.flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see lockkeeper %s -h", c.flags.Arg(0), c.flags.Name())
	}
	return nil
}

// errUsage means that the flag package has said what is wrong.
var errUsage = errors.New("usage")

// exitError carries an exit code other than 1; its message, if any, is printed.
type exitError struct {
	code int
	msg  string
}

// Error is the message.
func (e exitError) Error() string { return e.msg }

func subcommands() []subcommand {
	return []subcommand{
		{"serve", "--config FILE", "receive webhooks and do the work", serve},
		{"plan", "--repo DIR --base REF --head REF [--target NAME] --kubeconfig F [--context C] [-o text|markdown|json]",
			"the plan of a change in a local clone; exit code 0 no change, 2 changes, 1 error", planCommand},
		{"drift", "[--repo DIR] [--ref REF] [--target NAME] --kubeconfig F [--context C] [--full] [--write] [-o text|json]",
			"what is live and not as it was applied; exit code 0 nothing, 2 drift, 1 error; --write makes the work tree say it", driftCommand},
		{"check", "[--repo DIR] [--config FILE] [--schema repository|server]", "validate .lockkeeper.yaml and the server file; print who has to approve what", check},
		{"explain", "--facts FILE [--policy FILE] [--config FILE] [-o text|json]",
			"judge recorded facts again, and say why; exit code 0 allow, 2 deny, 1 error", explain},
		{"init", "[--repo DIR] [--cluster NAME] [--force]", "write .lockkeeper.yaml from what is in a repository", initCommand},
		{"setup", "--url URL --out DIR [--name NAME] [--api URL] [--ca FILE]", "create the GitHub App with the permissions it needs", setup},
		{"audit", "list --config FILE|--store FILE [--repo ID] [--pull N] [-o text|json]", "print the audit trail", auditCommand},
		{"version", "", "print the version", versionCommand},
	}
}

func main() {
	manifest.Child() // a rendering child never returns from here
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(stdout)
		return 0
	}
	for _, s := range subcommands() {
		if s.name != args[0] {
			continue
		}
		c := &call{flags: flag.NewFlagSet(s.name, flag.ContinueOnError), args: args[1:], stdin: stdin, stdout: stdout, stderr: stderr}
		c.flags.SetOutput(stderr)
		c.flags.Usage = func() {
			fmt.Fprintf(stderr, "lockkeeper %s %s\n\n%s\n\n", s.name, s.usage, s.summary)
			c.flags.PrintDefaults()
		}
		return exitCode(s.run(ctx, c), stderr)
	}
	fmt.Fprintf(stderr, "lockkeeper: unknown command %q\n\n", args[0])
	usage(stderr)
	return 1
}

func exitCode(err error, stderr io.Writer) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 1
	case errors.As(err, &exit):
		if exit.msg != "" {
			fmt.Fprintln(stderr, exit.msg)
		}
		return exit.code
	}
	fmt.Fprintln(stderr, "lockkeeper: "+strings.TrimSpace(err.Error()))
	return 1
}

func usage(w io.Writer) {
	fmt.Fprint(w, "lockkeeper: GitOps in pull requests\n\n")
	for _, s := range subcommands() {
		fmt.Fprintf(w, "  lockkeeper %-8s %s\n", s.name, s.summary)
	}
	fmt.Fprint(w, "\nlockkeeper COMMAND -h shows a command's flags.\n")
}
