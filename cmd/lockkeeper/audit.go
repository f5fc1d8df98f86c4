package main

import (
	"context"
	"errors"
	"fmt"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/store"
)

func auditCommand(ctx context.Context, c *call) error {
	if len(c.args) == 0 || c.args[0] != "list" {
		return errors.New("audit: want `lockkeeper audit list`; see lockkeeper audit list -h")
	}
	c.args = c.args[1:]
	path := c.flags.String("store", "", "the SQLite `FILE` of the server")
	repo := c.flags.Int64("repo", 0, "only this repository `ID`")
	pull := c.flags.Int("pull", 0, "only this pull `NUMBER`")
	format := c.flags.String("o", "text", "text or json")
	if err := c.parse(); err != nil {
		return err
	}
	if *path == "" {
		return errors.New("audit list: --store is missing; name the server's SQLite file")
	}
	s, err := store.Open(ctx, *path, store.Options{MustExist: true})
	if err != nil {
		return err
	}
	records, err := s.Records(ctx, store.Filter{RepoID: *repo, Number: *pull})
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	switch *format {
	case "text":
		return audit.Text(c.stdout, records)
	case "json":
		return audit.JSONLines(c.stdout, records)
	}
	return fmt.Errorf("audit list: -o %s: want text or json", *format)
}
