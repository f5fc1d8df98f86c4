package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"code.gitea.io/gitea/models/db"
	"code.gitea.io/gitea/models/webhook"
)

// socketEnv names the Unix socket to answer on:
//
//	GET /settled    once Gitea has done what it was asked before: {"delivered":7}
//	GET /delivered  at once
//
// The number is that of the webhooks that were answered so far, or given up.
const socketEnv = "GITEA_SETTLE_SOCKET"

func serveSettle() error {
	path := os.Getenv(socketEnv)
	if path == "" {
		return nil
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for those who want to know when all is done: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /settled", func(w http.ResponseWriter, r *http.Request) { answer(w, settle(r.Context())) })
	mux.HandleFunc("GET /delivered", func(w http.ResponseWriter, r *http.Request) { answer(w, nil) })
	go func() { _ = http.Serve(listener, mux) }() // until the process ends
	return nil
}

func answer(w http.ResponseWriter, err error) {
	var delivered int64
	if err == nil {
		delivered, err = db.GetEngine(context.Background()).Where("is_delivered = ?", true).Count(new(webhook.HookTask))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]int64{"delivered": delivered})
}

// settle waits until nothing is left to do of what was asked before. Gitea
// answers first and does much of the work afterwards, in queues and in plain
// goroutines that nobody waits for. Neither tells when it is done; a look at all
// goroutines in one moment does.
func settle(ctx context.Context) error {
	for {
		if !working() {
			left, err := webhook.FindUndeliveredHookTaskIDs(ctx, 0)
			if err != nil || len(left) == 0 {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; still at work:\n%s", context.Cause(ctx), atWork())
		case <-time.After(3 * time.Millisecond):
		}
	}
}

func working() bool { return atWork() != "" }

// atWork is the stack of a goroutine that works for somebody whose request was
// answered already, or "".
func atWork() string {
	for stack := range strings.SplitSeq(stacks(), "\n\n") {
		if busy(stack) {
			return stack
		}
	}
	return ""
}

// stacks is one moment of all goroutines.
func stacks() string {
	for size := 1 << 20; ; size *= 2 {
		text := make([]byte, size)
		if n := runtime.Stack(text, true); n < size {
			return string(text[:n])
		}
	}
}

// busy goes by the functions of modules/queue and by who started a goroutine.
// With batches of one (BATCH_LENGTH) a queue keeps an item nowhere but in its
// channel, which is empty when the reader waits for it, and in the hands of a
// goroutine that does not wait.
func busy(stack string) bool {
	header, _, _ := strings.Cut(stack, "\n")
	waiting := strings.Contains(header, "[select")
	switch {
	case strings.Contains(stack, "modules/queue.popItemByChan"):
		return !waiting || !strings.Contains(stack, "PopItem(")
	case strings.Contains(stack, "modules/queue.(*WorkerPoolQueue"):
		return !waiting || strings.Contains(stack, ".doWorkerHandle(") ||
			strings.Contains(stack, ".doDispatchBatchToWorker(") || strings.Contains(stack, ".doFlush(")
	}
	_, starter, _ := strings.Cut(stack, "\ncreated by code.gitea.io/gitea/services/")
	for _, service := range []string{"pull.", "repository.", "org.", "webhook."} {
		if strings.HasPrefix(starter, service) {
			return true
		}
	}
	return false
}
