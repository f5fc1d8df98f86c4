package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"lockkeeper/forge"
	"lockkeeper/forge/people"
)

// conversation is one pull as its readers see it, read as people read it.
type conversation struct {
	world  *world
	number int
	// shown are the bodies that were printed already, by comment.
	shown map[int64]string
}

// url is the page on which people can go on.
func (c *conversation) url() string {
	return c.world.forge.URL() + "/" + shop + fmt.Sprintf(c.world.venue.pull, c.number)
}

// byBot are the bot's comments whose hidden marker begins with key.
func (c *conversation) byBot(ctx context.Context, key string) ([]people.Comment, error) {
	all, err := c.world.forge.As(ann).Comments(ctx, shop, c.number)
	return slices.DeleteFunc(all, func(m people.Comment) bool {
		return m.Author != c.world.bot() || !strings.HasPrefix(m.Body, "<!-- lockkeeper:"+key)
	}), err
}

// report waits until the bot's report says all of wants, and returns it. There
// must only ever be one.
func (c *conversation) report(ctx context.Context, wants ...string) (string, error) {
	body := ""
	err := eventually(ctx, fmt.Sprintf("the report on #%d to say %q", c.number, wants), func(ctx context.Context) (bool, error) {
		found, err := c.byBot(ctx, fmt.Sprintf("pull/%d/%d part=1 ", c.world.repo.ID, c.number))
		if err != nil || len(found) == 0 {
			return false, err
		}
		if len(found) > 1 {
			return false, fmt.Errorf("#%d has %d reports; want one that is edited in place", c.number, len(found))
		}
		body = found[0].Body
		return says(body, wants...) == nil, c.world.serve.Ended()
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
			return false, errOr(err, c.world.serve.Ended())
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
		reactions, err := c.world.forge.As(ann).Reactions(ctx, shop, c.number, id)
		for _, logins := range reactions {
			if slices.Contains(logins, c.world.bot()) {
				return true, nil
			}
		}
		return false, errOr(err, c.world.serve.Ended())
	})
}

func (c *conversation) pull(ctx context.Context) (people.Pull, error) {
	return c.world.forge.As(ann).Pull(ctx, shop, c.number)
}

// check waits until the bot's check on the head is in a state, and returns it.
func (c *conversation) check(ctx context.Context, want forge.CheckState) (people.Shown, error) {
	p, err := c.pull(ctx)
	if err != nil {
		return people.Shown{}, err
	}
	var found people.Shown
	err = eventually(ctx, fmt.Sprintf("the check of %.8s to be %q", p.HeadSHA, want), func(ctx context.Context) (bool, error) {
		shown, err := c.world.forge.As(ann).Checks(ctx, shop, p.HeadSHA)
		i := slices.IndexFunc(shown, func(s people.Shown) bool { return s.Name == "lockkeeper" && s.State == want })
		if i >= 0 {
			found = shown[i]
		}
		return i >= 0, errOr(err, c.world.serve.Ended())
	})
	return found, err
}

// merged is an error unless the pull is merged, and main contains it.
func (c *conversation) merged(ctx context.Context) error {
	p, err := c.pull(ctx)
	switch {
	case err != nil:
		return err
	case !p.Merged:
		return fmt.Errorf("#%d is %s, not merged", c.number, p.State)
	}
	main, err := c.world.forge.Head(ctx, shop, "main")
	if err == nil && main != p.MergeSHA {
		err = fmt.Errorf("main is at %.8s, not at the merge %.8s", main, p.MergeSHA)
	}
	return err
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
	return w.forge.As(login).Push(ctx, shop, branch, "main", people.Commit{Message: message, Files: files})
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
	found, err := c.byBot(ctx, fmt.Sprintf("pull/%d/%d part=1 ", c.world.repo.ID, c.number))
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0].Body, nil
}
