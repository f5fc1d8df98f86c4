package inventory

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lockkeeper/cluster"
	"lockkeeper/cluster/kube/client"
	"lockkeeper/cluster/kube/fields"
)

// Bootstrap makes lockkeeper's namespace and digest key where they are missing.
func Bootstrap(ctx context.Context, api *client.Client) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster.SystemNamespace}}
	err := api.Request(ctx, func(ctx context.Context) error {
		_, err := api.Core.Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: fields.Manager})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: %w", cluster.SystemNamespace, api.Explain(err))
	}
	key := make([]byte, keySize)
	rand.Read(key)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: keyName, Labels: map[string]string{labelInventory: "key"}},
		Data:       map[string][]byte{"key": key},
		Immutable:  new(true),
	}
	err = api.Request(ctx, func(ctx context.Context) error {
		_, err := api.Core.Secrets(cluster.SystemNamespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: fields.Manager})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("digest key %s/%s: %w", cluster.SystemNamespace, keyName, api.Explain(err))
	}
	return nil
}

// Read reads key and shards with one LIST (paged).
func Read(ctx context.Context, api *client.Client) (*Inventory, error) {
	var secrets []corev1.Secret
	opts := metav1.ListOptions{LabelSelector: Selector, Limit: pageSize}
	for {
		var page *corev1.SecretList
		err := api.Ask(ctx, func(ctx context.Context) (err error) {
			page, err = api.Core.Secrets(cluster.SystemNamespace).List(ctx, opts)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the inventory in namespace %s: %w", cluster.SystemNamespace, api.Explain(err))
		}
		secrets = append(secrets, page.Items...)
		if opts.Continue = page.Continue; opts.Continue == "" {
			return Of(api, secrets)
		}
	}
}

// Of is the inventory that a cluster's Secrets by Selector hold.
func Of(api *client.Client, secrets []corev1.Secret) (*Inventory, error) {
	v := empty(api)
	for i := range secrets {
		if err := v.take(secrets[i]); err != nil {
			return nil, fmt.Errorf("inventory of cluster %s: Secret %s/%s: %w", api.Name, cluster.SystemNamespace, secrets[i].Name, err)
		}
	}
	if v.key == nil {
		v.key, v.Ephemeral = make([]byte, keySize), true
		rand.Read(v.key)
	}
	return v, nil
}

func empty(api *client.Client) *Inventory {
	return &Inventory{api: api, shelves: map[cluster.Owner]*shelf{}, byRef: map[cluster.Ref]cluster.Owner{}}
}

// Write records on the cluster what an apply did: put replaces or adds entries
// of owner (taking them from any other owner), drop removes entries of owner.
// Each shard is written bound to the resourceVersion it was read at; when
// somebody else wrote in between, the inventory is read and the change made
// again. v holds the new state afterwards.
func (v *Inventory) Write(ctx context.Context, owner cluster.Owner, revision string, put []Entry, drop []cluster.Ref) error {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		v.mu.Lock()
		touched := v.record(owner, put, drop)
		v.shelf(owner).revision, v.shelf(owner).at = revision, time.Now().UTC()
		err := v.writeShelf(ctx, owner)
		for _, o := range touched {
			if err == nil && o != owner {
				err = v.writeShelf(ctx, o)
			}
		}
		v.mu.Unlock()
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) || attempt == attempts {
			if err != nil {
				return fmt.Errorf("writing the inventory of target %s: %w", owner.Target, v.api.Explain(err))
			}
			return nil
		}
		fresh, err := Read(ctx, v.api)
		if err != nil {
			return err
		}
		v.mu.Lock()
		v.shelves, v.byRef = fresh.shelves, fresh.byRef
		v.mu.Unlock()
	}
}

// writeShelf brings an owner's shards on the cluster to its entries.
func (v *Inventory) writeShelf(ctx context.Context, o cluster.Owner) error {
	s := v.shelf(o)
	packs, err := s.pack()
	if err != nil {
		return err
	}
	secrets := v.api.Core.Secrets(cluster.SystemNamespace)
	var kept []corev1.Secret
	for i, p := range packs {
		want := s.secret(o, i, len(packs), p)
		var got *corev1.Secret
		at := slices.IndexFunc(s.shards, func(x corev1.Secret) bool { return x.Name == want.Name })
		err := v.api.Request(ctx, func(ctx context.Context) (err error) {
			if at < 0 {
				got, err = secrets.Create(ctx, want, metav1.CreateOptions{FieldManager: fields.Manager})
				return err
			}
			want.ResourceVersion = s.shards[at].ResourceVersion
			got, err = secrets.Update(ctx, want, metav1.UpdateOptions{FieldManager: fields.Manager})
			return err
		})
		if err != nil {
			return err
		}
		kept = append(kept, *got)
	}
	for i := range s.shards {
		old := &s.shards[i]
		if slices.ContainsFunc(kept, func(k corev1.Secret) bool { return k.Name == old.Name }) {
			continue
		}
		err := v.api.Request(ctx, func(ctx context.Context) error {
			return secrets.Delete(ctx, old.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &old.ResourceVersion}})
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	s.shards = kept
	return nil
}

// Applied tells, from the shards' annotations alone, what was applied last.
func Applied(ctx context.Context, api *client.Client) (map[cluster.Owner]cluster.AppliedTarget, error) {
	out := map[cluster.Owner]cluster.AppliedTarget{}
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	opts := metav1.ListOptions{LabelSelector: labelInventory + "=shard", Limit: 500}
	for {
		var page *metav1.PartialObjectMetadataList
		err := api.Ask(ctx, func(ctx context.Context) (err error) {
			page, err = api.Metadata.Resource(secrets).Namespace(cluster.SystemNamespace).List(ctx, opts)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the inventory in namespace %s: %w", cluster.SystemNamespace, api.Explain(err))
		}
		for i := range page.Items {
			s := &page.Items[i]
			owner, err := shardOwner(s)
			if err != nil {
				return nil, fmt.Errorf("inventory of cluster %s: Secret %s/%s: %w", api.Name, s.Namespace, s.Name, err)
			}
			n, _ := strconv.Atoi(s.Annotations[annObjects])
			a := out[owner]
			if at := shardTime(s); cmp.Compare(at.UnixNano(), a.At.UnixNano()) >= 0 || a.At.IsZero() {
				a.Revision, a.At = s.Annotations[annRevision], at
			}
			a.Objects += n
			out[owner] = a
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			return out, nil
		}
	}
}
