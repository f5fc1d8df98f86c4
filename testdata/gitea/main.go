// Command gitea is the Gitea server and its command line, from their own
// packages, as lockkeeper's tests and its demo run it through
// forge/forgetest/gitea. It differs from upstream's main.go in that it
//
//   - keeps its data with SQLite in pure Go, so that it is built without a C
//     compiler, and does not wait for the disk,
//   - ends when the process that started it ends (see lifeline.go),
//   - tells when it is done with everything it was asked (see settle.go),
//   - runs Git's hooks in processes that stay (see hookd.go).
//
// It is a Go module of its own because Gitea replaces a few of its modules,
// which must not leak into lockkeeper's go.mod.
package main

import (
	"fmt"
	"os"
	"time"

	"code.gitea.io/gitea/cmd"
	"code.gitea.io/gitea/modules/log"
	_ "code.gitea.io/gitea/modules/markup/markdown" // renders comments
	"code.gitea.io/gitea/modules/setting"

	"github.com/urfave/cli/v3"
)

// version is what the API tells: the one that go.mod requires.
const version = "1.26.0"

func main() {
	setting.AppVer, setting.AppStartTime = version, time.Now().UTC()
	cli.OsExiter = func(code int) {
		log.GetManager().Close()
		os.Exit(code)
	}
	serveSQLite()
	if err := accompany(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitea:", err)
		os.Exit(1)
	}
	app := cmd.NewMainApp(cmd.AppVersion{Version: version, Extra: " for tests"})
	err := cmd.RunMainApp(app, os.Args...) // has said what is wrong
	log.GetManager().Close()
	if err != nil {
		os.Exit(1)
	}
}

// accompany starts what runs beside the server. For hookd it never returns
// without an error.
func accompany(args []string) error {
	switch {
	case len(args) == 2 && args[0] == hookd:
		return runHookd(args[1])
	case len(args) == 3 && args[0] == "web" && args[1] == "--config":
		holdLifeline()
		if err := keepHookds(args[2]); err != nil {
			return err
		}
		return serveSettle()
	}
	return nil
}
