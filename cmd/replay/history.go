package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lockkeeper/bot/config"
	"lockkeeper/cluster"
	"lockkeeper/cluster/manifest"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest/bare"
	"lockkeeper/forge/git"
)

// repositoryFile is added to every state of the bundle.
const repositoryFile = `targets:
  - name: replay
    path: %s
    cluster: ` + house.Cluster + `
    environment: ` + house.Environment + `
    timeout: 2m
environments:
  ` + house.Environment + `:
    approvals: {required: 1}
`

// history is a bundle, unpacked.
type history struct {
	dir      string
	git      *bare.Repo
	path     string // of the target
	from     int    // number of the first state
	states   []bare.Commit
	repo     *git.Repo
	renderer *manifest.Renderer
}

// state is one commit of the bundle with our file beside it, as a tree and as
// what it renders to.
type state struct {
	number  int // in the bundle, from 1
	commit  bare.Commit
	tree    string
	objects []cluster.Object
}

// openHistory unpacks a branch of a bundle.
func openHistory(ctx context.Context, bundle, branch, path string) (*history, error) {
	bundle, err := filepath.Abs(bundle)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lockkeeper-history-")
	if err != nil {
		return nil, err
	}
	h := &history{dir: dir, path: path, renderer: manifest.New(manifest.Limits{})}
	if h.git, err = bare.Init(ctx, filepath.Join(dir, "repo.git"), "main"); err != nil {
		return h, err
	}
	if _, err := h.git.Git(ctx, nil, "", "fetch", "-q", bundle, "+refs/heads/"+branch+":refs/heads/"+branch); err != nil {
		return h, fmt.Errorf("unpack branch %s of %s: %w", branch, bundle, err)
	}
	out, err := h.git.Git(ctx, nil, "", "rev-list", "--reverse", "--first-parent", "refs/heads/"+branch)
	if err != nil {
		return h, err
	}
	for _, sha := range strings.Fields(out) {
		c, err := h.git.Commit(ctx, sha)
		if err != nil {
			return h, err
		}
		h.states = append(h.states, c)
	}
	h.repo, err = git.Open(ctx, h.git.Dir, git.Options{})
	return h, err
}

func (h *history) close() error {
	h.renderer.Close()
	var err error
	if h.repo != nil {
		err = h.repo.Close()
	}
	return errors.Join(err, os.RemoveAll(h.dir))
}

// state prepares the i-th state, from 0.
func (h *history) state(ctx context.Context, i int) (*state, error) {
	s := &state{number: h.from + i, commit: h.states[i]}
	file := bare.File{Path: config.RepoFile, Content: fmt.Appendf(nil, repositoryFile, h.path)}
	var err error
	if s.tree, err = h.git.WriteTree(ctx, s.commit.SHA, filepath.Join(h.dir, "index"), []bare.File{file}); err != nil {
		return nil, err
	}
	tree, err := h.repo.Tree(ctx, s.tree)
	if err != nil {
		return nil, err
	}
	r, err := h.renderer.Render(ctx, tree, h.path)
	if err != nil {
		return nil, fmt.Errorf("render state %d: %w", s.number, err)
	}
	s.objects = r.Objects
	return s, nil
}

// branch makes a branch whose one commit on top of parent ("": none) turns it
// into the state, by the person who opens the pulls.
func (h *history) branch(ctx context.Context, s *state, name, parent string, email string) error {
	who := bare.Person{Name: house.Opener, Email: email, When: time.Now()}
	c := bare.Commit{Tree: s.tree, Author: who, Committer: who, Message: s.commit.Message}
	if parent != "" {
		c.Parents = []string{parent}
	}
	sha, err := h.git.CommitTree(ctx, c)
	if err != nil {
		return err
	}
	return h.git.SetRef(ctx, "refs/heads/"+name, sha, "")
}
