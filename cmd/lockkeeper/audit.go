package main

import (
	"context"
	"errors"
	"fmt"

	"lockkeeper/bot/audit"
	"lockkeeper/bot/secret"
	"lockkeeper/bot/store"
)

func auditCommand(ctx context.Context, c *call) error {
	if len(c.args) == 0 || c.args[0] != "list" {
		return errors.New("audit: want `lockkeeper audit list`; see lockkeeper audit list -h")
	}
	c.args = c.args[1:]
	path := c.flags.String("store", "", "the SQLite `FILE` of the server, or postgres://USER@HOST/DATABASE")
	server := c.flags.String("config", "", "the operator's `FILE`, which says where the store is")
	repo := c.flags.Int64("repo", 0, "only this repository `ID`")
	pull := c.flags.Int("pull", 0, "only this pull `NUMBER`")
	format := c.flags.String("o", "text", "text or json")
	if err := c.parse(); err != nil {
		return err
	}
	if (*path == "") == (*server == "") {
		return errors.New("audit list: want either --config, the operator's file, or --store, the server's SQLite file")
	}
	redact := &secret.Redactor{}
	if *server != "" {
		file, err := readServer(*server)
		if err == nil {
			*path, err = storeAddress(file, redact)
		}
		if err != nil {
			return redact.Error(err)
		}
	}
	s, err := store.Open(ctx, *path, store.Options{MustExist: true})
	if err != nil {
		return redact.Error(err)
	}
	records, err := s.Records(ctx, store.Filter{RepoID: *repo, Number: *pull})
	if err := errors.Join(err, s.Close()); err != nil {
		return redact.Error(err)
	}
	switch *format {
	case "text":
		return audit.Text(c.stdout, records)
	case "json":
		return audit.JSONLines(c.stdout, records)
	}
	return fmt.Errorf("audit list: -o %s: want text or json", *format)
}
