package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// startNodes starts what acts on objects, and waits until it does: nodes
// without a taint say that kwok and the node controllers work, the service
// account that new namespaces' controllers work.
func (c *ControlPlane) startNodes(ctx context.Context) error {
	if err := c.startControllers(ctx); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	nodes := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	for i := range c.options.Nodes {
		if _, err := nodes.Create(ctx, fakeNode(i), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create a fake node: %w", err)
		}
	}
	err = c.waitUntil(ctx, "the nodes to take pods", func(ctx context.Context) error {
		list, err := nodes.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if err := takesPods(&list.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	accounts := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"})
	return c.waitUntil(ctx, "the default service account", func(ctx context.Context) error {
		_, err := accounts.Namespace(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return errors.New("there is none yet")
		}
		return err
	})
}

// startControllers lifts the controllers' request rates, which are tuned for
// clusters that share their API server, and turns their own ports off.
func (c *ControlPlane) startControllers(ctx context.Context) error {
	stages, err := exec.CommandContext(ctx, filepath.Join(c.bin, "kwok"), "stages").Output()
	if err != nil {
		return fmt.Errorf("kwok stages: %w", err)
	}
	stageFile := filepath.Join(c.dir, "stages.yaml")
	if err := os.WriteFile(stageFile, stages, 0o600); err != nil {
		return err
	}
	common := []string{
		"--kubeconfig=" + c.Kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=1000", "--kube-api-burst=2000",
	}
	return errors.Join(
		c.run("kube-controller-manager", append(common[:len(common):len(common)],
			"--service-account-private-key-file="+c.key("service-accounts.key"), "--root-ca-file="+c.key("ca.crt"),
			// A node that is silent for so long has its pods marked as not ready, which
			// kwok never takes back. It tells every ten minutes that nodes are alive.
			"--node-monitor-grace-period=24h")),
		c.run("kube-scheduler", common),
		c.run("kwok", []string{"--kubeconfig=" + c.Kubeconfig, "--config=" + stageFile, "--manage-all-nodes=true"}),
	)
}

func fakeNode(i int) *unstructured.Unstructured {
	name := fmt.Sprintf("node-%d", i)
	room := map[string]any{"cpu": "64", "memory": "256Gi", "pods": "10000"}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{
			"name": name,
			"labels": map[string]any{
				"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
				"topology.kubernetes.io/zone": fmt.Sprintf("zone-%c", 'a'+i%3),
			},
		},
		"status": map[string]any{"capacity": room, "allocatable": room},
	}}
}

func takesPods(node *unstructured.Unstructured) error {
	if taints, _, _ := unstructured.NestedSlice(node.Object, "spec", "taints"); len(taints) > 0 {
		return fmt.Errorf("%s is tainted: %v", node.GetName(), taints)
	}
	conditions, _, _ := unstructured.NestedSlice(node.Object, "status", "conditions")
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == "Ready" && c["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready", node.GetName())
}
