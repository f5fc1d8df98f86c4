package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runs is an error unless the Deployment of the shop has so many replicas
// available, all of them from this image.
func (c *liveCluster) runs(ctx context.Context, deployment, image string, replicas int32) error {
	d, err := c.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	got := d.Spec.Template.Spec.Containers[0].Image
	s := d.Status
	switch {
	case got != image:
		return fmt.Errorf("%s: Deployment %s runs %s, not %s", c.Context, deployment, got, image)
	case s.ObservedGeneration != d.Generation || s.UpdatedReplicas != replicas || s.AvailableReplicas != replicas || s.Replicas != replicas:
		return fmt.Errorf("%s: Deployment %s has %d of %d replicas available, %d of them new", c.Context, deployment, s.AvailableReplicas, replicas, s.UpdatedReplicas)
	}
	return nil
}

// configured is an error unless the shop's ConfigMap has the value.
func (c *liveCluster) configured(ctx context.Context, key, value string) error {
	m, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, "web-config", metav1.GetOptions{})
	if err == nil && m.Data[key] != value {
		err = fmt.Errorf("%s: ConfigMap web-config has %s=%q, not %q", c.Context, key, m.Data[key], value)
	}
	return err
}

// mayRead lists what the ClusterRole of the shop's developers lets them read.
func (c *liveCluster) mayRead(ctx context.Context) ([]string, error) {
	role, err := c.RbacV1().ClusterRoles().Get(ctx, "shop-reader", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range role.Rules {
		if slices.Contains(r.Verbs, "get") || slices.Contains(r.Verbs, rbacv1.VerbAll) {
			all = append(all, r.Resources...)
		}
	}
	slices.Sort(all)
	return all, nil
}

// reads is an error unless the shop's developers may read exactly these.
func (c *liveCluster) reads(ctx context.Context, want ...string) error {
	got, err := c.mayRead(ctx)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("%s: shop-reader reads %v, not %v", c.Context, got, want)
	}
	return err
}

// empty is an error if the shop has a namespace.
func (c *liveCluster) empty(ctx context.Context) error {
	_, err := c.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err == nil:
		return fmt.Errorf("%s has a namespace %s already", c.Context, namespace)
	}
	return err
}

// fingerprint changes with everything that anybody writes to the objects that
// the tour is about.
func (w *world) fingerprint(ctx context.Context) (string, error) {
	var b strings.Builder
	for _, name := range []string{staging, production} {
		c := w.clusters[name]
		deployments, err := c.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		for _, d := range deployments.Items {
			fmt.Fprintf(&b, "%s %s %s %s\n", name, d.Name, d.UID, d.ResourceVersion)
		}
		maps, err := c.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		for _, m := range maps.Items {
			fmt.Fprintf(&b, "%s %s %s %s\n", name, m.Name, m.UID, m.ResourceVersion)
		}
		roles, err := c.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		for _, r := range roles.Items {
			fmt.Fprintf(&b, "%s %s %s %s\n", name, r.Name, r.UID, r.ResourceVersion)
		}
	}
	return b.String(), nil
}

// untouched runs f and is an error if a cluster was written to meanwhile.
func (w *world) untouched(ctx context.Context, f func() error) error {
	before, err := w.fingerprint(ctx)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := w.fingerprint(ctx)
	if err == nil && before != after {
		err = fmt.Errorf("a cluster was written to:\nbefore\n%safter\n%s", before, after)
	}
	return err
}
