package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/forge/forgetest"
)

// conversation is one pull as its readers see it, read through the forge's API.
type conversation struct {
	world  *world
	number int
	// shown are the bodies that were printed already, by comment.
	shown map[int64]string
}

func (c *conversation) path(format string, args ...any) string {
	return "/repos/" + shop + fmt.Sprintf(format, args...)
}

// url is the page on which people can go on.
func (c *conversation) url() string {
	return fmt.Sprintf("%s/%s/pull/%d", c.world.forge.URL, shop, c.number)
}

type comment struct {
	ID   int64
	Body string
	User struct{ Login string }
}

func (c *conversation) comments(ctx context.Context) ([]comment, error) {
	var all []comment
	for page := 1; ; page++ {
		var some []comment
		err := c.world.forge.As(ann).Do(ctx, "GET", c.path("/issues/%d/comments?per_page=100&page=%d", c.number, page), nil, &some)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < 100 {
			return all, nil
		}
	}
}

// byBot are the bot's comments whose hidden marker begins with key.
func (c *conversation) byBot(ctx context.Context, key string) ([]comment, error) {
	all, err := c.comments(ctx)
	return slices.DeleteFunc(all, func(m comment) bool {
		return m.User.Login != c.world.app.BotLogin() || !strings.HasPrefix(m.Body, "<!-- lockkeeper:"+key)
	}), err
}

// report waits until the bot's report says all of wants, and returns it. There
// must only ever be one.
func (c *conversation) report(ctx context.Context, wants ...string) (string, error) {
	body := ""
	err := eventually(ctx, fmt.Sprintf("the report on #%d to say %q", c.number, wants), func(ctx context.Context) (bool, error) {
		found, err := c.byBot(ctx, fmt.Sprintf("pull/%d/%d part=1 ", c.world.forge.RepoID(shop), c.number))
		if err != nil || len(found) == 0 {
			return false, err
		}
		if len(found) > 1 {
			return false, fmt.Errorf("#%d has %d reports; want one that is edited in place", c.number, len(found))
		}
		body = found[0].Body
		return says(body, wants...) == nil, c.world.bot.Ended()
	})
	if err != nil && body != "" {
		err = fmt.Errorf("%w; it says:\n%s", err, body)
	}
	return body, err
}

// says is an error if the text lacks one of wants.
func says(text string, wants ...string) error {
	for _, want := range wants {
		if !strings.Contains(text, want) {
			return fmt.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	return nil
}

// reply waits for the bot's one answer to a comment.
func (c *conversation) reply(ctx context.Context, to int64) (string, error) {
	body := ""
	err := eventually(ctx, "the bot's answer", func(ctx context.Context) (bool, error) {
		found, err := c.byBot(ctx, fmt.Sprintf("reply/%d/", to))
		if err != nil || len(found) == 0 {
			return false, errOr(err, c.world.bot.Ended())
		}
		body = found[0].Body
		return true, nil
	})
	return body, err
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// acknowledged waits for the bot's reaction to a comment.
func (c *conversation) acknowledged(ctx context.Context, id int64) error {
	return eventually(ctx, "the bot's reaction to the comment", func(ctx context.Context) (bool, error) {
		var reactions []struct{ User struct{ Login string } }
		err := c.world.forge.As(ann).Do(ctx, "GET", c.path("/issues/comments/%d/reactions", id), nil, &reactions)
		return len(reactions) > 0 && reactions[0].User.Login == c.world.app.BotLogin(), errOr(err, c.world.bot.Ended())
	})
}

type pull struct {
	State  string
	Merged bool
	Head   struct{ SHA string }
	// MergeCommit is the commit on the base branch, once merged.
	MergeCommit string `json:"merge_commit_sha"`
}

func (c *conversation) pull(ctx context.Context) (pull, error) {
	var p pull
	return p, c.world.forge.As(ann).Do(ctx, "GET", c.path("/pulls/%d", c.number), nil, &p)
}

// check waits until the bot's check on the head concluded as wanted.
func (c *conversation) check(ctx context.Context, want string) error {
	p, err := c.pull(ctx)
	if err != nil {
		return err
	}
	return eventually(ctx, fmt.Sprintf("the check of %.8s to conclude %q", p.Head.SHA, want), func(ctx context.Context) (bool, error) {
		var out struct {
			Runs []struct{ Name, Conclusion string } `json:"check_runs"`
		}
		err := c.world.forge.As(ann).Do(ctx, "GET", c.path("/commits/%s/check-runs", p.Head.SHA), nil, &out)
		return slices.ContainsFunc(out.Runs, func(r struct{ Name, Conclusion string }) bool {
			return r.Name == "lockkeeper" && r.Conclusion == want
		}), errOr(err, c.world.bot.Ended())
	})
}

// merged is an error unless the pull is merged, and main contains it.
func (c *conversation) merged(ctx context.Context) error {
	p, err := c.pull(ctx)
	switch {
	case err != nil:
		return err
	case !p.Merged:
		return fmt.Errorf("#%d is %s, not merged", c.number, p.State)
	case c.world.forge.Head(shop, "main") != p.MergeCommit:
		return fmt.Errorf("main is at %.8s, not at the merge %.8s", c.world.forge.Head(shop, "main"), p.MergeCommit)
	}
	return nil
}

// open pushes a commit over HTTP and opens a pull from it.
func (w *world) open(ctx context.Context, login, branch, title, body string, files map[string]string) (*conversation, error) {
	c := &conversation{world: w, shown: map[int64]string{}}
	if _, err := w.push(ctx, login, branch, title, files); err != nil {
		return nil, err
	}
	var err error
	c.number, err = w.forge.As(login).OpenPull(ctx, shop, "main", branch, title, body)
	return c, err
}

func (w *world) push(ctx context.Context, login, branch, message string, files map[string]string) (string, error) {
	return w.forge.As(login).Push(ctx, shop, branch, "main", forgetest.Commit{Message: message, Files: forgetest.Text(files)})
}

// edited is a seed file with every old text replaced; it must be there.
func (w *world) edited(files map[string]string, path string, pairs ...string) error {
	text, known := files[path]
	if !known {
		seed, err := readSeed(w.seed())
		if err != nil {
			return err
		}
		text = seed[path]
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			return fmt.Errorf("%s of the seed repository has no %q to change", path, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	files[path] = text
	return nil
}

// current is the report as it stands, "" if there is none.
func (c *conversation) current(ctx context.Context) (string, error) {
	found, err := c.byBot(ctx, fmt.Sprintf("pull/%d/%d part=1 ", c.world.forge.RepoID(shop), c.number))
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0].Body, nil
}
