package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lockkeeper/bot/store/pgtest"
	"lockkeeper/cmd/internal/house"
	"lockkeeper/forge/forgetest"
	"lockkeeper/forge/forgetest/bare"
)

const (
	// stormPulls and stormWebhooks are what the storm is made of; each webhook
	// is delivered twice, so that twice as many calls arrive.
	stormPulls    = 500
	stormWebhooks = 5000
	// stormTargets are the targets that the pulls touch, in turn.
	stormTargets = 100
	// How many calls arrive in a second. SQLite has one connection, and every
	// delivery is on the disk before it is answered.
	rateSQLite   = 250
	ratePostgres = 500
	// maxRSS bounds the memory of the process, in MiB.
	maxRSS = 512
	// maxStormCalls bounds the forge calls a pull: a report takes maxForgeCalls,
	// and a pull may be looked at again for what arrived while it was.
	maxStormCalls = 2 * maxForgeCalls
)

// storms measures the same storm on both databases.
func (b *bench) storms(ctx context.Context) (err error) {
	if err := b.storm(ctx, "SQLite", "", rateSQLite); err != nil {
		return err
	}
	server, err := pgtest.Start(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	database, err := server.Database(ctx)
	if err != nil {
		return err
	}
	return b.storm(ctx, "PostgreSQL", database, ratePostgres)
}

// storm measures what a burst of webhooks does to the door, to the forge and to
// memory: 500 pulls are opened, pushed to, talked about, reviewed and tested,
// and everything that the forge tells of it arrives twice, in any order.
func (b *bench) storm(ctx context.Context, on, database string, rate int) (err error) {
	h, err := house.Start(ctx, house.Options{
		Binary: b.binary, Plane: b.plane, Store: database, Unchecked: true,
		Repo: forgetest.NewRepo{Owner: "acme", Name: "shop", Files: stormFiles()},
	})
	defer func() { err = errors.Join(err, h.Close()) }()
	if err != nil {
		return err
	}
	if err := h.Settle(ctx); err != nil {
		return err
	}
	w, calls, err := b.brew(ctx, h, on)
	if err != nil {
		return err
	}
	h.Forge.ForgetCalls()
	s := &storm{brewer: w, calls: calls, on: on, rate: rate, report: b.report}
	begin := time.Now()
	if err := s.blow(ctx); err != nil {
		return err
	}
	if err := h.Settle(ctx); err != nil {
		return err
	}
	s.add(figure{Name: "from the first webhook until every pull is planned", Value: time.Since(begin).Seconds(), Unit: "s"})
	if err := s.planned(ctx); err != nil {
		return err
	}
	s.countCalls()
	if err := s.weigh(); err != nil {
		return err
	}
	return s.remembers(ctx)
}

// stormFiles are the targets: a ConfigMap each.
func stormFiles() map[string]string {
	files := map[string]string{".lockkeeper.yaml": repositoryFile}
	for i := range stormTargets {
		files[stormPath(i)] = stormFile(i, "base")
	}
	return files
}

func stormPath(pull int) string { return fmt.Sprintf("targets/t%d/config.yaml", pull%stormTargets) }

func stormFile(pull int, value string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: storm-%d, namespace: default}, data: {key: %s}}\n", pull%stormTargets, value)
}

// brewer does what the webhooks tell of.
type brewer struct {
	house   *house.House
	repo    *bare.Repo // from which everything is pushed
	numbers [stormPulls]int
}

// brew does what the webhooks tell of, and returns these instead of having
// them delivered.
func (b *bench) brew(ctx context.Context, h *house.House, on string) (*brewer, []forgetest.Delivery, error) {
	h.Forge.SetDelivery(forgetest.DeliveryMode{Drop: func(forgetest.Delivery) bool { return true }})
	before := len(h.Forge.Deliveries())
	repo, err := bare.Init(ctx, filepath.Join(b.dir, "storm-"+on+".git"), "main")
	if err != nil {
		return nil, nil, err
	}
	if _, err := repo.Git(ctx, nil, "", "fetch", "-q", h.Forge.Dir(h.Repo), "refs/heads/main:refs/heads/main"); err != nil {
		return nil, nil, err
	}
	// The look-alike's git takes no pushes in chunks, as those that are longer are.
	if _, err := repo.Git(ctx, nil, "", "config", "http.postBuffer", "100000000"); err != nil {
		return nil, nil, err
	}
	w := &brewer{house: h, repo: repo}
	for _, step := range []func() error{
		func() error { return w.push(ctx, "first", "main") },
		func() error { return w.each(ctx, w.open) },
		func() error { return w.push(ctx, "second", "") },
		func() error { return w.each(ctx, w.talk) },
	} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	all := h.Forge.Deliveries()[before:]
	h.Forge.SetDelivery(forgetest.DeliveryMode{})
	if len(all) < stormWebhooks {
		return nil, nil, fmt.Errorf("the forge tells of %d things only, want %d", len(all), stormWebhooks)
	}
	return w, all[:stormWebhooks], nil
}

// each calls f for every pull, a few at a time.
func (w *brewer) each(ctx context.Context, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range stormPulls {
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

func stormBranch(i int) string { return fmt.Sprintf("change-%d", i) }

// push pushes a commit on every branch at once, on top of a branch or else of
// its own tip. The commits are made by git fast-import: one process, not
// thousands.
func (w *brewer) push(ctx context.Context, round, onto string) error {
	var in strings.Builder
	for i := range stormPulls {
		file := stormFile(i, fmt.Sprintf("%s-%d", round, i))
		fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter %s <%s@example.com> %d +0000\ndata %d\n%s\nfrom refs/heads/%s^0\nM 100644 inline %s\ndata %d\n%s\n",
			stormBranch(i), house.Opener, house.Opener, time.Now().Unix(), len(round), round, cmp.Or(onto, stormBranch(i)), stormPath(i), len(file), file)
	}
	if _, err := w.repo.Git(ctx, nil, in.String(), "fast-import", "--quiet", "--force"); err != nil {
		return err
	}
	return w.house.Forge.As(house.Opener).PushFrom(ctx, w.repo.Dir, w.house.Repo, "refs/heads/change-*:refs/heads/change-*")
}

func (w *brewer) open(ctx context.Context, i int) (err error) {
	w.numbers[i], err = w.house.Forge.As(house.Opener).OpenPull(ctx, w.house.Repo, "main", stormBranch(i), stormBranch(i), "")
	return err
}

// talk is what people and machines say about a pull.
func (w *brewer) talk(ctx context.Context, i int) error {
	bob, repo := w.house.Forge.As(house.Reviewer), w.house.Repo
	for n := range 4 {
		if _, err := bob.Comment(ctx, repo, w.numbers[i], fmt.Sprintf("thought %d", n)); err != nil {
			return err
		}
	}
	if _, err := bob.Review(ctx, repo, w.numbers[i], "COMMENT", "looks fine"); err != nil {
		return err
	}
	head := w.house.Forge.Head(repo, stormBranch(i))
	for _, name := range []string{"ci/build", "ci/test"} {
		if err := bob.Status(ctx, repo, head, name, "success"); err != nil {
			return err
		}
	}
	return nil
}

// storm is one run of it.
type storm struct {
	*brewer
	calls  []forgetest.Delivery
	on     string // which store
	rate   int    // calls a second
	report *report
	client http.Client
}

func (s *storm) add(f figure) {
	f.Name = fmt.Sprintf("storm on %s: %s", s.on, f.Name)
	s.report.add(f)
}

// post delivers one webhook to the door, as the forge would, and returns what
// it answered.
func (s *storm) post(ctx context.Context, d forgetest.Delivery) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.house.Door(), bytes.NewReader(d.Payload))
	if err != nil {
		return "", err
	}
	req.Header = d.Header.Clone()
	res, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("delivery %s was answered with HTTP %d: %s", d.GUID, res.StatusCode, text)
	}
	return strings.TrimSpace(string(text)), err
}

// blow delivers everything twice, in any order, at the rate: a call is sent
// when its time has come, whether or not those before it were answered, and the
// time until its answer counts from there.
func (s *storm) blow(ctx context.Context) error {
	s.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	defer s.client.CloseIdleConnections()
	order := slices.Concat(s.calls, s.calls)
	rand.New(rand.NewPCG(5, 0)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	var mu sync.Mutex
	var took []time.Duration
	var refused error
	fresh := map[string]int{}
	g, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for i, d := range order {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(s.rate))
		time.Sleep(time.Until(due))
		g.Go(func() error {
			answer, err := s.post(ctx, d)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
			if answer == "accepted" {
				fresh[d.GUID]++
			}
			if err != nil {
				refused = err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	rate := float64(len(order)) / time.Since(begin).Seconds()
	s.add(figure{Name: fmt.Sprintf("%d webhooks of %d pulls, each delivered twice: rate of arrival", len(s.calls), stormPulls), Value: rate, Unit: "calls/s"})
	slices.Sort(took)
	for _, p := range []struct {
		name  string
		share int
		want  float64
	}{{"median", 50, 0}, {"99th percentile", 99, 1}, {"longest", 100, 0}} {
		at := took[min(len(took)*p.share/100, len(took)-1)]
		s.add(figure{Name: "answer of the door, " + p.name, Value: at.Seconds() * 1000, Unit: "ms", Want: p.want * 1000, AtMost: true})
	}
	if refused != nil {
		return refused
	}
	return s.storedOnce(fresh)
}

// storedOnce holds the answers against what was sent: of two deliveries of the
// same webhook, one is new.
func (s *storm) storedOnce(fresh map[string]int) error {
	for _, d := range s.calls {
		if fresh[d.GUID] != 1 {
			return fmt.Errorf("delivery %s was taken for new %d times, want once", d.GUID, fresh[d.GUID])
		}
	}
	return nil
}

// planned holds every pull against what it should be: planned at its newest
// head, told in one report.
func (s *storm) planned(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, i int) error {
		number, head := s.numbers[i], s.house.Forge.Head(s.house.Repo, stormBranch(i))
		plan, err := s.house.Planned(ctx, number)
		if err != nil {
			return err
		}
		if plan.Head != head {
			return fmt.Errorf("#%d is planned at %s, and its head is %s", number, plan.Head, head)
		}
		reports, err := s.house.Reports(ctx, number)
		if err == nil && (len(reports) != 1 || !strings.Contains(reports[0], head[:8])) {
			err = fmt.Errorf("#%d has %d reports, want one that names its head %s", number, len(reports), head[:8])
		}
		return err
	})
}

// countCalls tells what the storm cost the forge.
func (s *storm) countCalls() {
	calls := s.house.Forge.Calls(s.house.App.BotLogin(), s.house.App.Slug)
	of := map[string]int{}
	for _, c := range calls {
		for _, kind := range []string{"pulls", "issues"} {
			if rest, found := strings.CutPrefix(c.Path, "/repos/"+s.house.Repo+"/"+kind+"/"); found {
				number, _, _ := strings.Cut(rest, "/")
				of[number]++
			}
		}
	}
	var each []int
	for _, number := range s.numbers {
		each = append(each, of[fmt.Sprint(number)])
	}
	slices.Sort(each)
	s.add(figure{Name: "forge calls a pull, mean", Value: float64(len(calls)) / stormPulls, Unit: "calls", Want: maxStormCalls, AtMost: true})
	s.add(figure{Name: "forge calls that name the pull, median", Value: float64(each[len(each)/2]), Unit: "calls"})
	s.add(figure{Name: "forge calls that name the pull, most", Value: float64(each[len(each)-1]), Unit: "calls"})
}

// weigh reads the most memory that the process had (Linux alone tells).
func (s *storm) weigh() error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.house.Bot().PID()))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return fmt.Errorf("read the peak of resident memory: %w", err)
	}
	s.add(figure{Name: "peak of the resident memory", Value: kib / 1024, Unit: "MiB", Want: maxRSS, AtMost: true})
	return nil
}

// remembers kills the bot and delivers every webhook once more: whatever was
// answered with 202 has to be known still.
func (s *storm) remembers(ctx context.Context) error {
	if err := s.house.Bot().Kill(); err != nil {
		return err
	}
	if err := s.house.Restart(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, d := range s.calls {
		g.Go(func() error {
			answer, err := s.post(ctx, d)
			if err == nil && answer != "accepted before" {
				err = fmt.Errorf("delivery %s was accepted before the bot was killed, and is not known after (%s)", d.GUID, answer)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s.add(figure{Name: "webhooks known after kill -9 and a restart", Value: float64(len(s.calls)), Unit: "webhooks", Want: stormWebhooks})
	return nil
}
