package clustertest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	corev1 "k8s.io/api/core/v1"
)

// What is asked for over a sick road fares as was wished, and well otherwise.
func TestSickRoad(t *testing.T) {
	cp := shared.Get(t)
	road, err := cp.Sick()
	if err != nil {
		t.Fatal(err)
	}
	defer road.Close()
	ns, over := cp.Namespace(t), kubernetes.NewForConfigOrDie(road.RESTConfig()).CoreV1()
	maps := over.ConfigMaps(ns)
	create := func(name string) error {
		_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	list := func(ctx context.Context) error { _, err := maps.List(ctx, metav1.ListOptions{}); return err }
	if err := create("well"); err != nil {
		t.Fatal(err)
	}

	road.Fall(Ill{Of: func(r *http.Request) bool { return r.Method == http.MethodPost }, Lose: true, Times: 1})
	if err := create("lost"); err == nil || errors.As(err, new(apierrors.APIStatus)) {
		t.Errorf("the answer came: %v", err)
	}
	if _, err := maps.Get(t.Context(), "lost", metav1.GetOptions{}); err != nil {
		t.Errorf("what lost its answer was not carried out: %v", err)
	}

	road.Fall(Ill{Status: http.StatusServiceUnavailable, Message: "not today", Times: 1})
	if err := list(t.Context()); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v", err)
	}
	road.Fall(Ill{Status: http.StatusTooManyRequests, RetryAfter: 1, Times: 1})
	begun := time.Now()
	if err := list(t.Context()); err != nil || time.Since(begun) < time.Second {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
	road.Fall(Ill{Cut: 40, Times: 1})
	if err := list(t.Context()); err == nil {
		t.Error("an answer that was cut short is whole")
	}

	road.Fall(Ill{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := list(ctx); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
	met := len(road.Met())
	hung := make(chan error, 1)
	go func() { hung <- list(context.WithoutCancel(t.Context())) }()
	for len(road.Met()) == met {
		time.Sleep(time.Millisecond) // until it hangs
	}
	road.Heal()
	if err := <-hung; err != nil {
		t.Errorf("healed: %v", err)
	}
}
