package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/inventory"
	"lockkeeper/cluster/kube/kinds"
	"lockkeeper/cluster/kube/secret"
)

const (
	// maxExamined bounds for how many objects a survey digs out reasons, which
	// takes requests: it is repeated, and a broken namespace breaks all in it.
	maxExamined = 10
	// surveyPage is how many objects a LIST of a survey asks for at once.
	surveyPage = 500
)

// survey is one look at all objects of a target.
type survey struct {
	api     *client.Client
	entries []inventory.Entry
	found   []finding // parallel to entries
}

// finding is what is wrong with an object; nothing where it is zero.
type finding struct {
	message string
	// live is set where message quotes the cluster, and there may be reasons.
	live *unstructured.Unstructured
}

// Survey looks once at objects that were applied, and returns a problem for
// each that is not there, is not the one that was applied, is not well at this
// moment, or could not be looked at. Every object costs a request, but those
// that are inert share one LIST of metadata for each kind and namespace. An
// error means that the cluster could not be asked, and says nothing of health.
func Survey(ctx context.Context, api *client.Client, served *kinds.Served, entries []inventory.Entry) ([]cluster.Problem, error) {
	s := &survey{api: api, entries: entries, found: make([]finding, len(entries))}
	if err := s.look(ctx, served); err != nil {
		return nil, err
	}
	if err := s.explain(ctx); err != nil {
		return nil, err
	}
	var out []cluster.Problem
	for i, f := range s.found {
		if ref := entries[i].Ref; f.message != "" {
			out = append(out, cluster.Problem{Ref: &ref, Message: fmt.Sprintf("%s %s", ref, f.message)})
		}
	}
	return out, nil
}

// look fills in the findings.
func (s *survey) look(ctx context.Context, served *kinds.Served) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.api.Concurrency())
	inert := map[place][]int{}
	for i, e := range s.entries {
		k, apiVersion, ok := served.Any(e.Ref, e.APIVersion)
		switch {
		case !ok:
			s.found[i].message = unserved(served, e)
		case isInert(schema.FromAPIVersionAndKind(apiVersion, e.Ref.Kind)):
			p := place{k.GVR, e.Ref.Namespace}
			inert[p] = append(inert[p], i)
		default:
			g.Go(func() error { return s.read(ctx, k.GVR, i) })
		}
	}
	for p, members := range inert {
		g.Go(func() error { return s.list(ctx, p, members) })
	}
	return g.Wait()
}

func unserved(served *kinds.Served, e inventory.Entry) string {
	for gv := range served.Broken {
		if gv.Group == e.Ref.Group {
			return fmt.Sprintf("could not be looked at: the API service of %s does not answer", gv)
		}
	}
	return fmt.Sprintf("is gone: the cluster no longer serves its kind (it was applied as %s); install its CRD and sync the target", e.APIVersion)
}

// isInert says that objects of a kind have no status: they are well if they are
// there, and their metadata proves it. Only kinds of Kubernetes are known to
// be; they are recognized by their Go types.
func isInert(gvk schema.GroupVersionKind) bool {
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return false
	}
	_, hasStatus := reflect.TypeOf(obj).Elem().FieldByName("Status")
	return !hasStatus
}

// read looks at one object.
func (s *survey) read(ctx context.Context, gvr schema.GroupVersionResource, i int) error {
	e := s.entries[i]
	obj, err := s.api.Get(ctx, gvr, e.Ref.Namespace, e.Ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		s.found[i].message = gone(e)
		return nil
	case err != nil:
		return s.unread(err, i)
	case obj.GetUID() != e.UID:
		s.found[i].message = madeAgain
		return nil
	}
	if v := Of(obj); v.State != cluster.Healthy {
		s.found[i] = finding{"is not healthy: " + cmp.Or(v.Message, "its status does not say why"), obj}
	}
	return nil
}

// list looks at inert objects of one kind in one place.
func (s *survey) list(ctx context.Context, p place, members []int) error {
	there := map[string]*metav1.PartialObjectMetadata{}
	opts := metav1.ListOptions{Limit: surveyPage}
	if len(members) == 1 {
		opts.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.entries[members[0]].Ref.Name).String()
	}
	for more := true; more; more = opts.Continue != "" {
		var page *metav1.PartialObjectMetadataList
		err := s.api.Ask(ctx, func(ctx context.Context) (err error) {
			page, err = s.api.Metadata.Resource(p.gvr).Namespace(p.namespace).List(ctx, opts)
			return err
		})
		if err != nil {
			return s.unread(err, members...)
		}
		for i := range page.Items {
			there[page.Items[i].Name] = &page.Items[i]
		}
		opts.Continue = page.Continue
	}
	for _, i := range members {
		e := s.entries[i]
		switch obj := there[e.Ref.Name]; {
		case obj == nil:
			s.found[i].message = gone(e)
		case obj.UID != e.UID:
			s.found[i].message = madeAgain
		case obj.DeletionTimestamp != nil:
			s.found[i].message = "is not healthy: " + leaving
		}
	}
	return nil
}

const madeAgain = "was deleted and made again by somebody, so that it is not what lockkeeper applied: sync the target to adopt it"

// gone says that an object is not there, and what may have taken it.
func gone(e inventory.Entry) string {
	if e.Ref.GroupKind() == "Job.batch" {
		return "is gone: somebody deleted it, or the cluster did because of its ttlSecondsAfterFinished (leave that out of what lockkeeper applies); sync the target to make it again"
	}
	return "is gone: somebody deleted it; sync the target to make it again"
}

// unread turns an answer of the server that concerns certain objects into
// findings, and passes on errors that concern the whole cluster.
func (s *survey) unread(err error, members ...int) error {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || apierrors.IsUnauthorized(err) {
		return s.api.Explain(err)
	}
	for _, i := range members {
		s.found[i].message = "could not be looked at: " + s.api.Explain(err).Error()
	}
	return nil
}

// explain adds the reasons to the first findings that may have some, and takes
// secret values out of all that quote the cluster.
func (s *survey) explain(ctx context.Context) error {
	var quoting []int
	for i, f := range s.found {
		if f.live != nil {
			quoting = append(quoting, i)
		}
	}
	if len(quoting) == 0 {
		return nil
	}
	scrub, err := s.scrubber(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(s.api.Concurrency())
	for n, i := range quoting {
		g.Go(func() error {
			parts := []string{s.found[i].message}
			if n < maxExamined {
				why := Examine(ctx, s.api, s.found[i].live)
				parts = append(append(parts, why.Containers...), why.Events...)
			}
			s.found[i].message = scrub.Text(s.entries[i].Ref, strings.Join(parts, "; "))
			return nil
		})
	}
	_ = g.Wait() // what cannot be read is left out of the reasons
	return nil
}

// scrubber knows the values of the target's Secrets, which are read for this:
// nobody rendered them now.
func (s *survey) scrubber(ctx context.Context) (*secret.Scrubber, error) {
	scrub := secret.NewScrubber()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.api.Concurrency())
	for _, e := range s.entries {
		if e.Ref.GroupKind() != "Secret" {
			continue
		}
		g.Go(func() error {
			obj, err := s.api.Get(ctx, corev1.SchemeGroupVersion.WithResource("secrets"), e.Ref.Namespace, e.Ref.Name)
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				return fmt.Errorf("reading %s, to keep its values out of messages: %w", e.Ref, s.api.Explain(err))
			}
			scrub.Learn(e.Ref, obj.Object)
			return nil
		})
	}
	return scrub, g.Wait()
}
