"""The network, and its training."""

import torch
from torch import nn


def trained(pixels, labels, seed, epochs, hidden):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(pixels[batch]), labels[batch]).backward()
            optimizer.step()
    return net.eval()
